"""The base of REST: authentication, bodies, errors, the OpenAPI document, and views of the core."""
