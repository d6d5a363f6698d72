"""How true the readings are: what the service says, beside what the workers themselves wrote down."""
