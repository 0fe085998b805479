package lab.boot;

import org.springframework.boot.web.servlet.FilterRegistrationBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.Ordered;
import org.springframework.web.filter.ForwardedHeaderFilter;

/** Heeds X-Forwarded headers: the gateway replaces whatever a caller said, so links and redirects can rely on them. */
@Configuration(proxyBeanMethods = false)
public class Forwarding {
    @Bean
    FilterRegistrationBean<RawRequest> rawRequest() {
        FilterRegistrationBean<RawRequest> registration = new FilterRegistrationBean<>(new RawRequest());
        registration.setOrder(Ordered.HIGHEST_PRECEDENCE);
        return registration;
    }

    @Bean
    FilterRegistrationBean<ForwardedHeaderFilter> forwardedHeaders() {
        FilterRegistrationBean<ForwardedHeaderFilter> registration =
                new FilterRegistrationBean<>(new ForwardedHeaderFilter());
        registration.setOrder(Ordered.HIGHEST_PRECEDENCE + 1);
        return registration;
    }
}
