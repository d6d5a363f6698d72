"""The loops that join sources, core and api: sampling, deciding, reload, state. The only place that owns time."""
