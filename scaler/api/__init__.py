"""The two front doors, gRPC for KEDA and HTTP for everyone else: they only read the board."""
