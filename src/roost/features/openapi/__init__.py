"""Tools from OpenAPI documents: an agent calls the operations of HTTP APIs."""
