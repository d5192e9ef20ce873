// Program oracle says what Talos' own packages make of configs, patches and secrets: one request
// in JSON a line on standard input, one answer in JSON a line on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-multierror"
)

// request is what a line asks. Do names one of the answers below; the rest is its input.
type request struct {
	Do         string     `json:"do"`
	Kinds      []string   `json:"kinds"`
	Config     string     `json:"config"`
	Patches    []string   `json:"patches"`
	Mode       string     `json:"mode"`
	Strict     bool       `json:"strict"`
	Secrets    string     `json:"secrets"`
	Talos      string     `json:"talos"`
	Cluster    string     `json:"cluster"`
	Endpoint   string     `json:"endpoint"`
	Kubernetes string     `json:"kubernetes"`
	Options    genOptions `json:"options"`
	Scope      string     `json:"scope"`
	Expression string     `json:"expression"`
}

// answer is what Talos says. Exactly one of Error and Panic is set where it refuses.
type answer struct {
	Text         string   `json:"text,omitempty"`
	Canonical    any      `json:"canonical,omitempty"`
	ControlPlane string   `json:"controlplane,omitempty"`
	Worker       string   `json:"worker,omitempty"`
	Warnings     []string `json:"warnings,omitempty"`
	Errors       []string `json:"errors,omitempty"`
	Error        string   `json:"error,omitempty"`
	Panic        string   `json:"panic,omitempty"`
}

var answers = map[string]func(request, *answer) error{
	"schema": func(r request, a *answer) error {
		a.Text = schema(r.Kinds)

		return nil
	},
	"decode":    decode,
	"canonical": canonical,
	"patch":     patch,
	"validate":  validate,
	"generate":  generateConfigs,
	"bundle":    checkBundle,
	"recover":   recoverBundle,
	"cel":       checkExpression,
}

// reply answers one request. What panics in Talos is an answer too.
func reply(r request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Panic: fmt.Sprint(p)}
		}
	}()

	do, ok := answers[r.Do]
	if !ok {
		return answer{Error: "no such request: " + r.Do}
	}

	if err := do(r, &a); err != nil {
		return answer{Error: err.Error()}
	}

	return a
}

// split takes the errors that Talos collects apart.
func split(err error) []string {
	if err == nil {
		return nil
	}

	if several, ok := errors.AsType[*multierror.Error](err); ok {
		var texts []string

		for _, one := range several.Errors {
			texts = append(texts, split(one)...)
		}

		return texts
	}

	return []string{err.Error()}
}

func serve(in io.Reader, out io.Writer) error {
	lines, answers := bufio.NewReader(in), json.NewEncoder(out)

	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}

		var r request

		if err = json.Unmarshal(line, &r); err != nil {
			return err
		}

		if err = answers.Encode(reply(r)); err != nil {
			return err
		}
	}
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}
