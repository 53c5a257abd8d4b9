"""How long operators take on a GPU, and why: an analytic model whose constants stand in the profile of the GPU and its library."""
