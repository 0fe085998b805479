"""What lies outside of the lab on this machine: its trust stores and its hosts file.

Nothing here is touched but what carries the lab's own mark, and each change can be taken back.
"""
