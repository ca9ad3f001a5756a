#!/usr/bin/env bash
# Runs one Apache Kafka broker on this machine's loopback interface, for tests and for trying things out: broker and
# controller in one small JVM, from Maven's jars. Needs Java 17 and, the first time, Maven. Not for production.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
VERSION=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$here/kafka/pom.xml")
cache=${AULAFLOW_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aulaflow}
jars=$cache/kafka-$VERSION

# Known to everybody: the listener is on loopback, and holds nothing but test data.
SCRAM_USER=aulaflow
SCRAM_PASSWORD=aulaflow-for-tests

usage() {
    cat <<END
usage: docker/kafka.sh COMMAND [--dir DIR] [--port N] [--secure]

  start      starts a broker on 127.0.0.1:N and waits until it answers; formats DIR the first time
  stop       stops it; what it stored stays in DIR
  kill       kills it (-9)
  restart    stop and start
  pause      stops its process without ending it (SIGSTOP): it holds connections and answers nothing
  resume     lets it go on (SIGCONT)
  status     says whether it runs
  log        prints the broker's log
  tools CLASS [ARGUMENT...]
             runs one of Kafka's own tools, such as org.apache.kafka.tools.TopicCommand
  fetch      only fetches the jars

  --dir DIR  where it keeps everything (default: $cache/kafka-run)
  --port N   the port (default: 19092); N+1 is the controller's, N+2 the secure listener's
  --secure   start: also a listener with TLS and SASL on port N+2: SCRAM-SHA-512 and SCRAM-SHA-256 with the user
             $SCRAM_USER and the password $SCRAM_PASSWORD, OAUTHBEARER with unsigned tokens;
             the authority's certificate is DIR/tls/ca.pem
END
}

fail() {
    echo "error: $*" >&2
    exit 1
}

fetch() {
    [ -f "$jars/complete" ] && return
    command -v mvn > /dev/null || fail "Maven (mvn) was not found: it fetches Kafka's jars; install it, such as Debian's maven"
    local part=$jars.part.$$
    mkdir -p "$part"
    mvn --quiet --batch-mode -Dstyle.color=never --file "$here/kafka/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$part" -DincludeScope=runtime >&2
    touch "$part/complete"
    # Another run may have been faster.
    mv -T "$part" "$jars" 2> /dev/null || rm -rf "$part"
}

run_java() {
    command -v java > /dev/null || fail "Java was not found: install version 17 or later, such as Debian's default-jre-headless"
    fetch
    exec java -XX:+UseSerialGC "$@"
}

tls() {
    [ -f "$dir/tls/server.pem" ] && return
    mkdir -p "$dir/tls"
    (
        cd "$dir/tls"
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=aulaflow test authority" \
            -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out server.crt \
            -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost")
        openssl pkcs8 -topk8 -nocrypt -in server.key > server.pem.part
        cat server.crt ca.pem >> server.pem.part
        mv server.pem.part server.pem
    ) > "$dir/tls.log" 2>&1 || fail "the test certificates could not be made: see $dir/tls.log"
}

configure() {
    local listeners="PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))"
    local advertised="PLAINTEXT://127.0.0.1:$port"
    if [ "$secure" = 1 ]; then
        tls
        listeners+=",SASL_SSL://127.0.0.1:$((port + 2))"
        advertised+=",SASL_SSL://127.0.0.1:$((port + 2))"
    fi
    local security=org.apache.kafka.common.security
    cat > "$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=$listeners
advertised.listeners=$advertised
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs=$dir/data
auto.create.topics.enable=false
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
# Tests wait for compaction and for the removal of old segments.
log.cleaner.backoff.ms=500
log.retention.check.interval.ms=1000
log.cleaner.dedupe.buffer.size=8388608
END
    if [ "$secure" = 1 ]; then
        cat >> "$dir/server.properties" <<END
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server.pem
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=$security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
END
    fi
}

format() {
    [ -f "$dir/data/meta.properties" ] && return
    local scram="name=$SCRAM_USER,password=$SCRAM_PASSWORD"
    (run_java -Xmx256m -cp "$jars/*" kafka.tools.StorageTool format --config "$dir/server.properties" \
        --cluster-id 4L6g3nShT-eMCtK--X86sw --ignore-formatted \
        --add-scram "SCRAM-SHA-512=[$scram]" --add-scram "SCRAM-SHA-256=[$scram]") > "$dir/format.log" 2>&1 \
        || fail "the storage could not be formatted: see $dir/format.log"
}

running() {
    [ -f "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2> /dev/null
}

start() {
    running && fail "a broker runs in $dir already (process $(cat "$dir/pid"))"
    mkdir -p "$dir"
    fetch
    configure
    format
    : > "$dir/server.log"
    # In a session of its own, so that a Ctrl-C that ends the tests does not end it half way.
    (run_java -Xmx512m -Xms256m -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" -cp "$jars/*" \
        kafka.Kafka "$dir/server.properties") >> "$dir/server.log" 2>&1 < /dev/null &
    echo $! > "$dir/pid"
    disown
    for _ in $(seq 600); do
        grep -q 'Kafka Server started' "$dir/server.log" && return
        running || { tail -n 5 "$dir/server.log" >&2 && fail "the broker ended: see $dir/server.log"; }
        sleep 0.1
    done
    fail "the broker does not answer after 60 seconds: see $dir/server.log"
}

# end SIGNAL SECONDS: ends the broker and waits for that.
end() {
    running || return 0
    local pid
    pid=$(cat "$dir/pid")
    kill -CONT "$pid"
    kill "-$1" "$pid"
    for _ in $(seq $(($2 * 10))); do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
    rm -f "$dir/pid"
}

dir=$cache/kafka-run
port=19092
secure=0
command=${1:-help}
[ $# = 0 ] || shift
rest=()
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=$2 && shift 2 ;;
        --port) port=$2 && shift 2 ;;
        --secure) secure=1 && shift ;;
        *) [ "$command" = tools ] || fail "unknown argument $1"
            rest=("$@")
            break ;;
    esac
done
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

case $command in
    start) start ;;
    stop) end TERM 30 ;;
    kill) end KILL 5 ;;
    restart)
        end TERM 30
        grep -q SASL_SSL:// "$dir/server.properties" && secure=1
        port=$(sed -n 's/^advertised.listeners=PLAINTEXT:..127.0.0.1:\([0-9]*\).*/\1/p' "$dir/server.properties")
        start ;;
    pause) running && kill -STOP "$(cat "$dir/pid")" ;;
    resume) running && kill -CONT "$(cat "$dir/pid")" ;;
    status)
        if running; then echo "runs (process $(cat "$dir/pid"))"; else echo "does not run" && exit 1; fi ;;
    log) cat "$dir/server.log" ;;
    tools) run_java -Xmx256m -cp "$jars/*" "${rest[@]}" ;;
    fetch) fetch ;;
    help | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
