"""The decision, sans-IO: no clock, no network, no logging; everything else feeds it or carries it out."""
