"""The promises of the ExamX spike guide, each with its certificate: `python -m loadtest.seed_claims`."""
