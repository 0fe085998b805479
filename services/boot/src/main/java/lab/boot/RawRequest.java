package lab.boot;

import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServletRequest;
import java.io.IOException;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/** Keeps the request as it arrived: Spring takes the X-Forwarded headers out once it has heeded them. */
public class RawRequest implements Filter {
    static final String HEADERS = RawRequest.class.getName() + ".headers";
    static final String PATH = RawRequest.class.getName() + ".path";
    static final String REMOTE = RawRequest.class.getName() + ".remote";

    @Override
    public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain)
            throws IOException, ServletException {
        HttpServletRequest raw = (HttpServletRequest) request;
        Map<String, String> headers = new LinkedHashMap<>();
        for (String name : Collections.list(raw.getHeaderNames())) {
            headers.put(name.toLowerCase(Locale.ROOT), String.join(", ", Collections.list(raw.getHeaders(name))));
        }
        raw.setAttribute(HEADERS, headers);
        raw.setAttribute(PATH, raw.getRequestURI());
        raw.setAttribute(REMOTE, raw.getRemoteAddr());
        chain.doFilter(request, response);
    }
}
