"""What REST stands on: authentication, bodies, errors, the OpenAPI document, and views of the core."""
