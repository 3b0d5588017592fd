// Package onnxpb is the protobuf form of an ONNX file, generated from ONNX's own description of it,
// onnx.proto (Apache License 2.0; see LICENSE and NOTICE).
//
// It is generated anew, in this folder, with protoc from the Python package grpcio-tools and protoc-gen-go from
// google.golang.org/protobuf in the version of go.mod (not by make generate, which needs nothing but Go):
//
//	go build -o /tmp/bin/ google.golang.org/protobuf/cmd/protoc-gen-go
//	PATH=/tmp/bin:$PATH python3 -m grpc_tools.protoc -I. --go_out=. --go_opt=paths=source_relative \
//		--go_opt=Monnx.proto=hessdens/internal/model/onnx/onnxpb onnx.proto
package onnxpb
