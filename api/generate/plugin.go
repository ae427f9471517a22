package main

import (
	"bytes"
	"context"
	"os/exec"

	"github.com/bufbuild/protocompile"
	"github.com/pkg/errors"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the tools of go.mod that make Go of a descriptor: messages, and services.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-ttrpc"}

// compile reads the source in dir, comments included.
func compile(ctx context.Context, dir string) (protoreflect.FileDescriptor, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(ctx, source)
	if err != nil {
		return nil, errors.Wrap(err, "compile")
	}
	return files[0], nil
}

// generate returns the files that the plugins make of file, by name.
func generate(ctx context.Context, file protoreflect.FileDescriptor) (map[string][]byte, error) {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(file)},
	})
	if err != nil {
		return nil, errors.WithStack(err)
	}
	made := map[string][]byte{}
	for _, plugin := range plugins {
		cmd := exec.CommandContext(ctx, "go", "tool", plugin)
		cmd.Stdin = bytes.NewReader(request)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, errors.Wrapf(err, "go tool %s: %s", plugin, stderr.Bytes())
		}
		var response pluginpb.CodeGeneratorResponse
		if err := proto.Unmarshal(out, &response); err != nil {
			return nil, errors.Wrap(err, plugin)
		}
		if response.GetError() != "" {
			return nil, errors.Errorf("%s: %s", plugin, response.GetError())
		}
		for _, f := range response.GetFile() {
			made[f.GetName()] = []byte(f.GetContent())
		}
	}
	return made, nil
}
