# Debian's PostgreSQL with the official image's user 999:999, variables, data folder and stop signal.
FROM dogbreed-stand-in:trixie
LABEL dogbreed.stand-in="true"
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
COPY postgres_entrypoint.sh /usr/local/bin/
RUN groupmod --gid 999 postgres && usermod --uid 999 postgres \
    && chown -R postgres:postgres /var/lib/postgresql /var/log/postgresql \
    && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data /run/postgresql
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres_entrypoint.sh"]
