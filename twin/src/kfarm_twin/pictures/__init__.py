"""Pictures of heat and power: plain data in, SVG and HTML out; nothing here knows a model."""
