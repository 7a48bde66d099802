"""The data plane: HTTP/1.1 in, a free slot on an instance, HTTP/1.1 out."""
