"""A support desk: each of its people labels incoming messages in words of their own."""
