"""``kfarm sweep``: the same question at every point of a grid of inputs."""
