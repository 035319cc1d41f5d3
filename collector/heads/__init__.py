"""What connections carry, by their first bytes: how a head is caught, read and put to its flow.

It keeps names alone: the server's name, an HTTP method, the beginning of a path. No payload is stored or shipped.
"""
