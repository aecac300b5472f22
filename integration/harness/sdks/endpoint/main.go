// A server with Prometheus's own OTLP endpoint: the handler, the database and remote read.
//
// Debian's build of Prometheus lacks the endpoint. The server accepts those flags of
// Prometheus that the tests set.
package main

import (
	"flag"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
)

func main() {
	address := flag.String("web.listen-address", "127.0.0.1:0", "Listen address.")
	data := flag.String("storage.tsdb.path", "data", "Folder of the database.")
	flag.String("config.file", "", "Ignored; the defaults apply.")
	flag.Bool("web.enable-remote-write-receiver", false, "Ignored; nothing writes to this server.")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	db, err := tsdb.Open(*data, logger, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		log.Fatal(err)
	}
	configuration := func() config.Config {
		configuration := config.DefaultConfig
		configuration.OTLPConfig = config.DefaultOTLPConfig
		return configuration
	}
	registry := prometheus.NewRegistry()
	options := remote.OTLPOptions{ConvertDelta: true, LookbackDelta: 300_000_000_000}
	http.Handle("/api/v1/otlp/v1/metrics",
		remote.NewOTLPWriteHandler(logger, registry, db, configuration, options))
	http.Handle("/api/v1/read",
		remote.NewReadHandler(logger, registry, db, configuration, 0, 10, 0))
	http.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServe(*address, nil))
}
