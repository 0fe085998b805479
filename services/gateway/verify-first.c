/*
 * A client judges the server's certificate during the handshake, before it shows its own.
 *
 * nginx completes the handshake with any server and looks at the result afterwards (ngx_ssl_verify_callback accepts all,
 * ngx_http_upstream_ssl_handshake refuses): the request is kept from a server that is not believed, but this gateway's
 * client certificate, and a signature made with its key, have been sent by then.  No directive changes that.
 *
 * Preloaded into nginx, this sets on each connection what OpenSSL needs to refuse by itself: the name that is asked for,
 * and that verification decides.  Trust, revocation lists and depth are those that nginx was configured with.  It can
 * refuse only: without a name, or without trusted authorities (proxy_ssl_verify off), nobody is believed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* The reason, in the words that nginx has for it; nginx writes what lies in OpenSSL's queue into its log. */
static int tell(int believed, X509_STORE_CTX *chain)
{
    if (!believed) {
        int code = X509_STORE_CTX_get_error(chain);
        ERR_raise_data(ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED, "upstream SSL certificate verify error: (%d:%s)",
                       code, X509_verify_cert_error_string(code));
    }
    return believed;
}

int SSL_do_handshake(SSL *connection)
{
    static int (*handshake)(SSL *);

    if (handshake == NULL) {
        handshake = (int (*)(SSL *)) dlsym(RTLD_NEXT, "SSL_do_handshake");
    }
    if (!SSL_is_server(connection) && SSL_in_before(connection)) {
        const char *name = SSL_get_servername(connection, TLSEXT_NAMETYPE_host_name);
        if (name == NULL || !SSL_set1_host(connection, name)) {
            ERR_raise_data(ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED, "upstream SSL certificate has no name to match");
            return -1;
        }
        SSL_set_verify(connection, SSL_VERIFY_PEER, tell);
    }
    return handshake(connection);
}
