"""Generated from proto/ by scripts/generate-proto.sh; committed so that a checkout runs as it is."""
