"""What gateways, SDKs and other systems write of agents, one module a format; plain JSON by mapping
files.
"""
