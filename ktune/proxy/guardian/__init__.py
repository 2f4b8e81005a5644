"""The privileged side: one small program, standard library only.

It holds the journal and the client's connection. Connection closed, deadline passed or SIGTERM:
every knob goes back. Its own allow-list and limits apply whatever the client says.
"""
