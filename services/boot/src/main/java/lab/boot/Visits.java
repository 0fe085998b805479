package lab.boot;

import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.io.IOException;
import java.net.URI;
import java.util.Map;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.DeleteMapping;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.bind.annotation.SessionAttribute;
import org.springframework.web.servlet.support.ServletUriComponentsBuilder;

/** Counts a caller's visits in a session: cookies and redirects that lead to where the caller sees this application. */
@RestController
@RequestMapping("/visits")
public class Visits {
    private static final String COUNT = "visits";

    @GetMapping
    Map<String, Integer> visits(@SessionAttribute(name = COUNT, required = false) Integer count) {
        return Map.of(COUNT, count == null ? 0 : count);
    }

    /** The address is built of the forwarded headers: scheme, host, port and prefix are the caller's. */
    @PostMapping
    ResponseEntity<Void> visit(HttpSession session) {
        synchronized (session) {
            session.setAttribute(COUNT, session.getAttribute(COUNT) instanceof Integer count ? count + 1 : 1);
        }
        URI visits = ServletUriComponentsBuilder.fromCurrentContextPath().path("/visits").build().toUri();
        return ResponseEntity.status(HttpStatus.SEE_OTHER).location(visits).build();
    }

    /** As code does that knows of no prefix: the servlet's own redirect names the path as it is here. */
    @DeleteMapping
    void forget(HttpSession session, HttpServletResponse response) throws IOException {
        session.invalidate();
        response.sendRedirect("/visits", HttpServletResponse.SC_SEE_OTHER);
    }
}
