import java.io.ByteArrayInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.ConnectException;
import java.net.SocketException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.KeyStoreException;
import java.security.UnrecoverableKeyException;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import javax.crypto.BadPaddingException;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;

/**
 * Asks for one URL with the JDK's own HTTP client, and says in one line what happened.
 *
 * Whom it trusts and whom it comes as is decided by two files: a truststore with the authority that signed the server's
 * certificate, and a PKCS#12 bundle with the client's certificate and key.
 */
public final class JavaClient {

    static final String USAGE = """
        java JavaClient.java [--trust FILE] [--identity FILE.p12] [OPTIONS] URL

          --trust FILE             whom to trust: certificates in PEM, or a Java truststore; default: the JDK's own
          --trust-password TEXT    the truststore's password
          --identity FILE          whom to come as: a PKCS#12 bundle; default: nobody
          --password TEXT          the bundle's password
          --resolve NAME=ADDRESS   where a name leads to, for want of DNS; no other name is known then
          --timeout SECONDS        for the connection, and for the answer; default 10

        The environment serves as well, and hides passwords from the list of processes: CLIENT_URL, CLIENT_TRUST,
        CLIENT_TRUST_PASSWORD, CLIENT_IDENTITY, CLIENT_PASSWORD, CLIENT_RESOLVE, CLIENT_TIMEOUT.

        Exit codes: 0 answered; 1 answered with a status of 400 or above; 2 wrong arguments or files;
        3 we do not trust the server; 4 the server broke the handshake off, for want of a certificate that it accepts;
        5 no connection, or no answer.
        """;

    static final int ANSWERED = 0;
    static final int REFUSED = 1;
    static final int MISTAKE = 2;
    static final int SERVER_NOT_TRUSTED = 3;
    static final int BROKEN_OFF = 4;
    static final int NO_ANSWER = 5;

    static final List<String> OPTIONS =
        List.of("trust", "trust-password", "identity", "password", "resolve", "timeout");

    /** What happened: the exit code, and the line to print. */
    record Outcome(int code, String line) {}

    /** What is wrong with the arguments, or with a file that they name. */
    static final class Mistake extends Exception {
        Mistake(String message) {
            super(message);
        }
    }

    public static void main(String[] arguments) {
        if (List.of(arguments).contains("--help")) {
            System.out.print(USAGE);
            return;
        }
        Outcome outcome = run(arguments, System.getenv());
        (outcome.code() <= REFUSED ? System.out : System.err).println(outcome.line());
        System.exit(outcome.code());
    }

    static Outcome run(String[] arguments, Map<String, String> environment) {
        try {
            Map<String, String> settings = read(arguments, environment);
            URI url = url(settings);
            Duration timeout = timeout(settings);
            resolve(settings.get("resolve"));
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(shown(settings), trusted(settings), null);
            return ask(url, context, timeout);
        } catch (Mistake mistake) {
            return new Outcome(MISTAKE, mistake.getMessage() + " (see --help)");
        } catch (GeneralSecurityException | IOException error) {
            return new Outcome(MISTAKE, "this JDK cannot do it: " + reason(error));
        }
    }

    // The request

    /** Sends one request; redirects are told and not followed. */
    static Outcome ask(URI url, SSLContext context, Duration timeout) {
        HttpRequest request = HttpRequest.newBuilder(url).timeout(timeout).build();
        try (HttpClient client = HttpClient.newBuilder().sslContext(context).connectTimeout(timeout).build()) {
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            String line = response.statusCode() + " " + onOneLine(response.body());
            return new Outcome(response.statusCode() < 400 ? ANSWERED : REFUSED, line.strip());
        } catch (IOException error) {
            return explained(error, url, timeout);
        } catch (InterruptedException error) {
            return new Outcome(NO_ANSWER, "interrupted");
        }
    }

    /**
     * What an exception of the client's means.
     *
     * Under TLS 1.3 the client has finished its part of the handshake when the server looks at its certificate: the
     * server's alert, or the end of the connection, then meets the first read.
     */
    static Outcome explained(IOException error, URI url, Duration timeout) {
        if (caused(error, CertificateException.class)) {
            return new Outcome(SERVER_NOT_TRUSTED, "handshake failed: we do not trust the server: " + reason(error));
        }
        if (caused(error, SSLException.class)) {
            return new Outcome(BROKEN_OFF, "handshake failed: the server broke it off: " + reason(error));
        }
        if (caused(error, HttpTimeoutException.class)) {
            return new Outcome(NO_ANSWER, "no answer within " + timeout.toSeconds() + " seconds");
        }
        if (caused(error, UnresolvedAddressException.class)) {
            return new Outcome(NO_ANSWER, "no connection: nobody knows the name " + url.getHost());
        }
        if (caused(error, ConnectException.class)) {
            return new Outcome(NO_ANSWER, "no connection: nobody listens at " + url.getAuthority());
        }
        boolean closed = caused(error, EOFException.class) || caused(error, SocketException.class);
        if (closed && url.getScheme().equals("https")) {
            return new Outcome(BROKEN_OFF, "the server closed the connection instead of answering: " + reason(error));
        }
        return new Outcome(NO_ANSWER, "no answer: " + reason(error));
    }

    static boolean caused(Throwable error, Class<? extends Throwable> kind) {
        return causes(error).anyMatch(kind::isInstance);
    }

    /** The innermost cause says what happened; those around it say who passed it on. */
    static String reason(Throwable error) {
        String said = causes(error).map(Throwable::getMessage).filter(text -> text != null && !text.isBlank())
            .reduce((outer, inner) -> inner).orElse(error.getClass().getSimpleName());
        return onOneLine(said);
    }

    static Stream<Throwable> causes(Throwable error) {
        return Stream.iterate(error, one -> one != null, Throwable::getCause);
    }

    static String onOneLine(String text) {
        return text.strip().replaceAll("\\s+", " ");
    }

    // Whom to trust, and whom to come as

    /** The authorities that a server's certificate may come from; null for those that the JDK trusts. */
    static TrustManager[] trusted(Map<String, String> settings) throws Mistake, GeneralSecurityException {
        if (!settings.containsKey("trust")) {
            return null;
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(truststore(Path.of(settings.get("trust")), settings.get("trust-password")));
        return factory.getTrustManagers();
    }

    static KeyStore truststore(Path file, String password) throws Mistake, KeyStoreException {
        byte[] content = read(file);
        KeyStore store = isPem(content) ? fromPem(file, content) : open(file, password);
        boolean hasAuthorities = false;
        for (String alias : Collections.list(store.aliases())) {
            hasAuthorities |= store.isCertificateEntry(alias);
        }
        if (!hasAuthorities) {
            throw new Mistake(file + ": there is no authority in it that could be trusted");
        }
        return store;
    }

    static boolean isPem(byte[] content) {
        return new String(content, StandardCharsets.ISO_8859_1).contains("-----BEGIN CERTIFICATE-----");
    }

    static KeyStore fromPem(Path file, byte[] content) throws Mistake {
        try {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            var certificates = CertificateFactory.getInstance("X.509")
                .generateCertificates(new ByteArrayInputStream(content));
            for (Certificate certificate : certificates) {
                store.setCertificateEntry("authority-" + store.size(), certificate);
            }
            return store;
        } catch (GeneralSecurityException | IOException error) {
            throw new Mistake(file + ": not a certificate in PEM: " + reason(error));
        }
    }

    /** The client's certificate and key; null to come as nobody. */
    static KeyManager[] shown(Map<String, String> settings) throws Mistake, GeneralSecurityException {
        if (!settings.containsKey("identity")) {
            return null;
        }
        Path file = Path.of(settings.get("identity"));
        read(file);
        String password = settings.getOrDefault("password", "");
        KeyStore bundle = open(file, password);
        boolean hasKey = false;
        for (String alias : Collections.list(bundle.aliases())) {
            hasKey |= bundle.isKeyEntry(alias);
        }
        if (!hasKey) {
            throw new Mistake(file + ": there is no certificate with a key in it");
        }
        KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        factory.init(bundle, password.toCharArray());
        return factory.getKeyManagers();
    }

    /** A key store of any type that the JDK knows: PKCS#12, JKS. */
    static KeyStore open(Path file, String password) throws Mistake {
        try {
            return KeyStore.getInstance(file.toFile(), password == null ? null : password.toCharArray());
        } catch (GeneralSecurityException | IOException error) {
            boolean wrong = caused(error, UnrecoverableKeyException.class) || caused(error, BadPaddingException.class);
            throw new Mistake(file + ": cannot be opened: " + (wrong ? "the password is wrong" : reason(error)));
        }
    }

    static byte[] read(Path file) throws Mistake {
        try {
            return Files.readAllBytes(file);
        } catch (NoSuchFileException error) {
            throw new Mistake(file + ": there is no such file");
        } catch (IOException error) {
            throw new Mistake(file + ": cannot be read: " + reason(error));
        }
    }

    // Arguments

    /** Option -> value, and `url`; arguments come before the environment. */
    static Map<String, String> read(String[] arguments, Map<String, String> environment) throws Mistake {
        Map<String, String> settings = new HashMap<>();
        for (String name : Stream.concat(Stream.of("url"), OPTIONS.stream()).toList()) {
            String value = environment.get("CLIENT_" + name.toUpperCase().replace('-', '_'));
            if (value != null) {
                settings.put(name, value);
            }
        }
        boolean hasUrl = false;
        for (int i = 0; i < arguments.length; i++) {
            String argument = arguments[i];
            if (!argument.startsWith("--")) {
                if (hasUrl) {
                    throw new Mistake(argument + ": one URL at a time");
                }
                hasUrl = true;
                settings.put("url", argument);
            } else if (!OPTIONS.contains(argument.substring(2))) {
                throw new Mistake(argument + ": no such option");
            } else if (i + 1 == arguments.length) {
                throw new Mistake(argument + ": a value has to follow");
            } else {
                settings.put(argument.substring(2), arguments[++i]);
            }
        }
        return settings;
    }

    static URI url(Map<String, String> settings) throws Mistake {
        String text = settings.get("url");
        if (text == null) {
            throw new Mistake("which URL?");
        }
        try {
            URI url = URI.create(text);
            if (url.getHost() != null && List.of("http", "https").contains(url.getScheme())) {
                return url;
            }
        } catch (IllegalArgumentException error) {
            // said below
        }
        throw new Mistake(text + ": not a URL such as https://server.lab.test/health");
    }

    static Duration timeout(Map<String, String> settings) throws Mistake {
        String text = settings.getOrDefault("timeout", "10");
        if (!text.matches("[1-9][0-9]{0,4}")) {
            throw new Mistake("--timeout " + text + ": a whole number of seconds, 1 or more");
        }
        return Duration.ofSeconds(Long.parseLong(text));
    }

    /** The client has no setting for addresses, but the JDK reads names from a file of one's own (java.net.InetAddress). */
    static void resolve(String text) throws Mistake, IOException {
        if (text == null) {
            return;
        }
        String[] parts = text.split("=");
        if (parts.length != 2 || parts[0].isBlank() || parts[1].isBlank()) {
            throw new Mistake("--resolve " + text + ": not NAME=ADDRESS");
        }
        Path hosts = Files.createTempFile("hosts", "");
        hosts.toFile().deleteOnExit();
        Files.writeString(hosts, parts[1] + " " + parts[0] + "\n");
        System.setProperty("jdk.net.hosts.file", hosts.toString());
    }
}
