"""A campaign of faults: scenarios played again with one fault each, and judged by an oracle."""
