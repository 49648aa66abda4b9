// SPDX-License-Identifier: MIT

// verify DIRECTORY UNIX_SECONDS: judges what make_profiles wrote with Go's crypto/x509, as Consul and its clients
// would. Prints one line for every failure and ends with status 1 if there was any.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

var failed bool

func fail(where string, err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", where, err)
		failed = true
	}
}

func read(dir, name string) []byte {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		panic(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) != 0 {
		panic(dir + "/" + name + ": not one PEM block")
	}
	return block.Bytes
}

func certificate(dir, name string) *x509.Certificate {
	c, err := x509.ParseCertificate(read(dir, name))
	if err != nil {
		panic(dir + "/" + name + ": " + err.Error())
	}
	return c
}

func verify(where string, leaf, root *x509.Certificate, now time.Time, intermediates ...*x509.Certificate) {
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	options.Roots.AddCert(root)
	for _, c := range intermediates {
		options.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(options)
	fail(where, err)
}

func request(dir, name string) {
	r, err := x509.ParseCertificateRequest(read(dir, name))
	if err == nil {
		err = r.CheckSignature()
	}
	if err == nil && len(r.URIs) != 1 {
		err = fmt.Errorf("%d URIs", len(r.URIs))
	}
	fail(dir+"/"+name, err)
}

func kind(dir string, now time.Time) {
	root, other := certificate(dir, "root.pem"), certificate(dir, "other.pem")
	leaf, named := certificate(dir, "leaf.pem"), certificate(dir, "named.pem")
	middle, below := certificate(dir, "intermediate.pem"), certificate(dir, "below.pem")
	secondary, under := certificate(dir, "secondary.pem"), certificate(dir, "under.pem")
	cross, back := certificate(dir, "cross.pem"), certificate(dir, "cross-back.pem")
	verify(dir+"/leaf", leaf, root, now)
	verify(dir+"/named", named, root, now)
	verify(dir+"/below", below, root, now, middle)
	verify(dir+"/under", under, root, now, secondary)
	verify(dir+"/leaf by the cross-signed root", leaf, other, now, cross)
	fail(dir+"/cross-back", back.CheckSignatureFrom(root))
	if leaf.URIs[0].String() != "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web" {
		fail(dir+"/leaf", fmt.Errorf("URI %s", leaf.URIs[0]))
	}
	for _, name := range []string{"leaf.csr.pem", "named.csr.pem", "intermediate.csr.pem"} {
		request(dir, name)
	}
	for _, name := range []string{"crl.pem", "empty.crl.pem"} {
		list, err := x509.ParseRevocationList(read(dir, name))
		if err == nil {
			err = list.CheckSignatureFrom(root)
		}
		if err == nil && list.Number.Int64() != 258 {
			err = fmt.Errorf("number %v", list.Number)
		}
		fail(dir+"/"+name, err)
	}
	for _, pair := range [][2]string{{"leaf.pem", "leaf.key.pem"}, {"leaf.pem", "leaf.pkcs8.pem"},
		{"root.pem", "root.pkcs8.pem"}, {"root.pem", "root.key.pem"}} {
		_, err := tls.LoadX509KeyPair(filepath.Join(dir, pair[0]), filepath.Join(dir, pair[1]))
		fail(dir+"/"+pair[1], err)
	}
}

func main() {
	seconds, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err != nil {
		panic(err)
	}
	kinds, err := filepath.Glob(filepath.Join(os.Args[1], "*"))
	if err != nil || len(kinds) == 0 {
		panic("nothing to verify")
	}
	for _, dir := range kinds {
		kind(dir, time.Unix(seconds, 0))
	}
	if failed {
		os.Exit(1)
	}
}
