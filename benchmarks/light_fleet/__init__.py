"""A fleet of light clients: devices that speak the protocol and train nothing."""
