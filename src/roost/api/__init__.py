"""The operations of the API, by room: one interface each, with the shapes of its requests and answers."""
