// Reads Kubernetes manifests as strictly as the API server does with `fieldValidation=Strict`, and
// prints each object as Kubernetes' own types hold it, one JSON object a line.
//
// In: YAML documents on standard input. Out: JSON; or what is wrong, and exit code 1.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

type kind struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

func typed(document []byte) (any, error) {
	var k kind
	if err := yaml.Unmarshal(document, &k); err != nil {
		return nil, err
	}
	var object any
	switch k {
	case kind{"batch/v1", "Job"}:
		object = &batchv1.Job{}
	case kind{"v1", "PersistentVolumeClaim"}:
		object = &corev1.PersistentVolumeClaim{}
	default:
		return nil, fmt.Errorf("no kind that is known here: %s %s", k.APIVersion, k.Kind)
	}
	return object, yaml.UnmarshalStrict(document, object)
}

func run() error {
	text, err := io.ReadAll(bufio.NewReader(os.Stdin))
	if err != nil {
		return err
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		object, err := typed(document)
		if err != nil {
			return err
		}
		line, err := json.Marshal(object)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
