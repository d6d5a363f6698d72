"""Where observations come from. One protocol, one contract test, three implementations."""
