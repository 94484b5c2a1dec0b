// Command pki writes the keys and certificates of one test control plane into a directory.
//
// Go is needed for the control plane anyway, so no other tool has to be installed for this. Everything is
// valid for one day and for the loopback address only.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func writePEM(path, kind string, der []byte, mode os.FileMode) {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, block, mode); err != nil {
		log.Fatal(err)
	}
}

func template(name, organisation string, usage x509.ExtKeyUsage) *x509.Certificate {
	serial := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	subject := pkix.Name{CommonName: name}
	if organisation != "" {
		subject.Organization = []string{organisation}
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}
}

func newAuthority(dir string) authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	root := template("carbon-scheduler-e2e", "", x509.ExtKeyUsageAny)
	root.IsCA, root.BasicConstraintsValid = true, true
	root.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	root.ExtKeyUsage = nil
	der := must(x509.CreateCertificate(rand.Reader, root, root, key.Public(), key))
	writePEM(filepath.Join(dir, "ca.crt"), "CERTIFICATE", der, 0o644)
	return authority{cert: must(x509.ParseCertificate(der)), key: key}
}

func (a authority) issue(dir, file string, leaf *x509.Certificate) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, leaf, a.cert, key.Public(), a.key))
	writePEM(filepath.Join(dir, file+".crt"), "CERTIFICATE", der, 0o644)
	writePEM(filepath.Join(dir, file+".key"), "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)), 0o600)
}

func server(name string) *x509.Certificate {
	leaf := template(name, "", x509.ExtKeyUsageServerAuth)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	leaf.DNSNames = []string{"localhost", name}
	return leaf
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: pki DIRECTORY")
	}
	dir := os.Args[1]
	root := newAuthority(dir)
	root.issue(dir, "apiserver", server("kubernetes"))
	root.issue(dir, "extender", server("carbon-scheduler"))
	root.issue(dir, "scheduler-client", template("kube-scheduler", "", x509.ExtKeyUsageClientAuth))
	tokens := must(rsa.GenerateKey(rand.Reader, 2048))
	writePEM(filepath.Join(dir, "tokens.key"), "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(tokens)), 0o600)
	writePEM(filepath.Join(dir, "tokens.pub"), "PUBLIC KEY", must(x509.MarshalPKIXPublicKey(tokens.Public())), 0o644)
}
