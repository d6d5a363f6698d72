"""The loops that join sources, core and api. The only place that owns time."""
