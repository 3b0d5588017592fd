// Package npytest makes .npy and .npz files for tests, also ones that NumPy would not write.
package npytest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Entry is a file of an archive.
type Entry struct {
	Name string // with its suffix
	Data []byte
}

// File is a .npy file of format 1.0 whose values are those of a slice of fixed-size values
// (nil: none), little-endian unless descr begins with '>'.
func File(descr string, fortran bool, shape []int, values any) []byte {
	var tuple strings.Builder
	for _, s := range shape {
		fmt.Fprintf(&tuple, "%d,", s)
	}
	order := "False"
	if fortran {
		order = "True"
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }", descr, order, tuple.String())
	return Raw(1, header, Bytes(values, strings.HasPrefix(descr, ">")))
}

// Raw is a .npy file of a format's major version with any header, padded as NumPy does, and any
// values.
func Raw(major byte, header string, values []byte) []byte {
	fixed := 10
	if major > 1 {
		fixed = 12
	}
	header += strings.Repeat(" ", 63-(fixed+len(header))%64) + "\n"
	out := append([]byte("\x93NUMPY"), major, 0)
	if major > 1 {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(header)))
	} else {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(header)))
	}
	return append(append(out, header...), values...)
}

// Bytes are the values of a slice in a file. It panics on what is not a slice of fixed-size
// values.
func Bytes(values any, bigEndian bool) []byte {
	if values == nil {
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	var b bytes.Buffer
	if err := binary.Write(&b, order, values); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Archive is a zip of the entries, in order, deflated or stored.
func Archive(deflate bool, entries ...Entry) []byte {
	method := zip.Store
	if deflate {
		method = zip.Deflate
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.Name, Method: method})
		if err == nil {
			_, err = w.Write(e.Data)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
