"""Closed-loop simulation: arrivals, a queue, pods, and the very code that decides."""
