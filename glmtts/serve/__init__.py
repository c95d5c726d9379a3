"""Speech for many over the network: one engine, and the protocols people's tools already speak."""
