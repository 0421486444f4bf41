"""The headings under which `verify --help` lists options."""

QUESTION, INPUTS, SEARCH, OUTPUT = "The question", "The input", "The search", "What is shown and saved"
OTHER = "Instead of verifying"
