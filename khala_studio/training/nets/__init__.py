"""The networks as plain torch modules: codec, backbone, super-resolution."""
