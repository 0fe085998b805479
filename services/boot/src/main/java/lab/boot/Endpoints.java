package lab.boot;

import jakarta.servlet.http.HttpServletRequest;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
public class Endpoints {
    private final String service;

    Endpoints(@Value("${spring.application.name}") String service) {
        this.service = service;
    }

    @GetMapping("/health")
    Map<String, String> health() {
        return Map.of("status", "ok", "service", service);
    }

    @GetMapping("/greet/{name}")
    Map<String, String> greet(@PathVariable String name) {
        return Map.of("service", service, "greeting", "Hello, " + name);
    }

    @RequestMapping("/whoami")
    Map<String, Object> whoami(HttpServletRequest request) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("service", service);
        answer.put("method", request.getMethod());
        answer.put("path", request.getAttribute(RawRequest.PATH));
        answer.put("query", request.getQueryString() == null ? "" : request.getQueryString());
        answer.put("headers", request.getAttribute(RawRequest.HEADERS));
        answer.put("remote", request.getAttribute(RawRequest.REMOTE));
        return answer;
    }
}
