"""Where twin work goes: a fork server of this machine, or a Dask scheduler; bytes in, bytes out."""
