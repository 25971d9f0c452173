// What a tool does that knows ClickHouse by its Go client over HTTP: url and table.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	address, table, ctx := strings.TrimPrefix(os.Args[1], "http://"), os.Args[2], context.Background()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{address}, Protocol: clickhouse.HTTP, DialTimeout: 60 * time.Second,
	})
	must(err)
	rows, err := conn.Query(ctx, "SELECT a, s, t, n FROM "+table+" WHERE a < {most:UInt64} ORDER BY a",
		clickhouse.Named("most", "2"))
	must(err)
	for rows.Next() {
		var a uint64
		var s string
		var t time.Time
		var n *float64
		must(rows.Scan(&a, &s, &t, &n))
		shown := "null"
		if n != nil {
			shown = fmt.Sprint(*n)
		}
		fmt.Println(a, s, t.UTC().Format("2006-01-02T15:04:05.000000Z"), shown)
	}
	must(rows.Err())

	var texts, none []string
	var lists map[string][]int32
	var low string
	var absent *string
	var id uuid.UUID
	var pair struct {
		A uint8  `ch:"a"`
		B string `ch:"b"`
	}
	var price float64
	must(conn.QueryRow(ctx, `SELECT ['x', 'y'], map('k', [1::Int32, 2::Int32]), 1.25::Float64,
		'low'::LowCardinality(String), NULL::LowCardinality(Nullable(String)),
		toUUID('6ba7b810-9dad-11d1-80b4-00c04fd430c8'), []::Array(LowCardinality(String)),
		(7, 'z')::Tuple(a UInt8, b String)`).Scan(&texts, &lists, &price, &low, &absent, &id, &none, &pair))
	gone := "null"
	if absent != nil {
		gone = *absent
	}
	fmt.Println(texts, lists, price, low, gone, id, none, pair)

	many, err := conn.Query(ctx, "SELECT number, toString(number) FROM numbers(200000)")
	must(err)
	count, sum := 0, uint64(0)
	for many.Next() {
		var number uint64
		var text string
		must(many.Scan(&number, &text))
		count, sum = count+1, sum+number
	}
	must(many.Err())
	fmt.Println("count", count, "sum", sum)
	err = conn.Exec(ctx, "DROP TABLE "+table)
	fmt.Println("refused", err != nil && strings.Contains(err.Error(), "read-only"))
}
