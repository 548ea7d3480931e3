"""How do the sessions of many clients use one child of the handshake era?"""
