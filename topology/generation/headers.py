"""What gateways tell those behind them in headers, and what they take out."""

from __future__ import annotations

CERTIFICATE_FACTS = {
    "client_subject": "ssl_client_s_dn",
    "client_issuer": "ssl_client_i_dn",
    "client_serial": "ssl_client_serial",
    "client_fingerprint": "ssl_client_fingerprint",
}
"""Our variable for what nginx knows of a certificate -> nginx's variable.  Ours are empty unless it was verified."""

HOST_HEADER = "$host$asked_port"
"""What a service gets: the name and port by which the caller came, as nginx has checked them."""

FORWARDED_HEADERS = (
    ("X-Request-ID", "$trace_id"),
    ("X-Forwarded-For", "$forwarded_for"),
    ("X-Forwarded-Proto", "$forwarded_proto"),
    ("X-Forwarded-Host", "$forwarded_host"),
    ("X-Forwarded-Prefix", "$forwarded_prefix"),
    ("Upgrade", "$upgrade"),
    ("Connection", "$connection_upgrade"),
)

REMOVED_HEADERS = (
    "Forwarded",
    "X-Real-IP",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-Client-Cert",
    "X-Client-Cert",
    "X-SSL-Cert",
    "X-SSL-Client-Cert",
    "X-SSL-Client-CN",
    "X-SSL-Client-DN",
    "X-SSL-Client-SHA1",
    "X-SSL-Issuer",
    "Ssl-Client-Cert",
    "Ssl-Client-Verify",
    "Ssl-Client-Subject-Dn",
    "Ssl-Client-Issuer-Dn",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Amzn-Mtls-Clientcert",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "X-Amzn-Mtls-Clientcert-Subject",
    "X-Amzn-Mtls-Clientcert-Issuer",
    "X-Amzn-Mtls-Clientcert-Serial-Number",
    "X-ARR-ClientCert",
    "X-Forwarded-To",
)
"""Other headers that frameworks and proxies read as facts about the caller; nobody may forge them.

Certificates by their names in RFC 9440, Envoy, HAProxy's examples, ingress-nginx, Traefik, AWS and Azure.
"""

CALLER_HEADERS = (
    ("X-SSL-Client-Verify", "$client_verify"),
    ("X-SSL-Client-S-DN", "$client_subject"),
    ("X-SSL-Client-I-DN", "$client_issuer"),
    ("X-SSL-Client-Serial", "$client_serial"),
    ("X-SSL-Client-Fingerprint", "$client_fingerprint"),
)
