"""Code that runs inside Argilla's environment, on Argilla's modules; imports no other part of this project."""
