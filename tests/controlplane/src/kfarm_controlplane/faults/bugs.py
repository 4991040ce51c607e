def apply(name):
    pass
