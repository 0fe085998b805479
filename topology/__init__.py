"""mtls-lab: one topology file in, running mutual-TLS stacks out, and the proof of who gets in."""
