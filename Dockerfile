# codeops in a container. The process provider's apps live inside it; past one container, use a provider that carries the load.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# `--build-arg PROFILE=perf` builds without the long link, to try an image out.
ARG PROFILE=release
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile "$PROFILE" --locked --bin codeops \
    && cp "target/$PROFILE/codeops" /usr/local/bin/codeops

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 codeops \
    && useradd --uid 10001 --gid codeops --no-create-home --home-dir /var/lib/codeops --shell /usr/sbin/nologin codeops \
    && install -d -o codeops -g codeops -m 0700 /var/lib/codeops
COPY --from=build /usr/local/bin/codeops /usr/local/bin/codeops

USER codeops
ENV CODEOPS_STATE=/var/lib/codeops \
    CODEOPS_LOG_FORMAT=json
VOLUME /var/lib/codeops
# 8080: the read-only page. 8081: hooks. Both listen on loopback until the settings say otherwise; see docs/operations.md.
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["codeops", "status", "--live"]
ENTRYPOINT ["codeops"]
CMD ["run"]
