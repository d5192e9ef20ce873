package main

import (
	"errors"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"go.yaml.in/yaml/v4"
)

// genOptions are the flags of `talosctl gen config` that change what it makes.
type genOptions struct {
	Disk      string              `json:"disk"`
	Image     string              `json:"image"`
	Domain    string              `json:"domain"`
	SANs      []string            `json:"sans"`
	Discovery *bool               `json:"discovery"`
	KubeSpan  bool                `json:"kubespan"`
	Mirrors   map[string][]string `json:"mirrors"`
	Pods      []string            `json:"pods"`
	Services  []string            `json:"services"`
}

func loadBundle(text string) (*secrets.Bundle, error) {
	bundle := &secrets.Bundle{Clock: secrets.NewClock()}
	if err := yaml.Unmarshal([]byte(text), bundle); err != nil {
		return nil, err
	}

	return bundle, nil
}

func contract(version string) (*config.VersionContract, error) {
	if version == "" {
		return config.TalosVersionCurrent, nil
	}

	return config.ParseContractFromVersion(version)
}

func generateConfigs(r request, a *answer) error {
	bundle, err := loadBundle(r.Secrets)
	if err != nil {
		return err
	}

	version, err := contract(r.Talos)
	if err != nil {
		return err
	}

	options := []generate.Option{
		generate.WithSecretsBundle(bundle),
		generate.WithVersionContract(version),
		generate.WithInstallDisk(r.Options.Disk),
		generate.WithInstallImage(r.Options.Image),
		generate.WithAdditionalSubjectAltNames(r.Options.SANs),
	}

	if r.Options.Domain != "" {
		options = append(options, generate.WithDNSDomain(r.Options.Domain))
	}

	if r.Options.Discovery != nil {
		options = append(options, generate.WithClusterDiscovery(*r.Options.Discovery))
	}

	if r.Options.KubeSpan {
		options = append(options, withKubeSpan())
	}

	for host, endpoints := range r.Options.Mirrors {
		options = append(options, generate.WithRegistryMirror(host, endpoints...))
	}

	input, err := generate.NewInput(r.Cluster, r.Endpoint, r.Kubernetes, options...)
	if err != nil {
		return err
	}

	if len(r.Options.Pods) > 0 {
		input.PodNet = r.Options.Pods
	}

	if len(r.Options.Services) > 0 {
		input.ServiceNet = r.Options.Services
	}

	for kind, text := range map[machine.Type]*string{
		machine.TypeControlPlane: &a.ControlPlane,
		machine.TypeWorker:       &a.Worker,
	} {
		provider, err := input.Config(kind)
		if err != nil {
			return err
		}

		if *text, err = encode(provider); err != nil {
			return err
		}
	}

	return nil
}

// checkBundle reads a secrets bundle, says what is wrong with it, and writes it anew.
func checkBundle(r request, a *answer) error {
	bundle, err := loadBundle(r.Secrets)
	if err != nil {
		return err
	}

	version, err := contract(r.Talos)
	if err != nil {
		return err
	}

	a.Errors = split(validateBundle(bundle, version))

	return a.bundle(bundle)
}

// recoverBundle takes the secrets bundle out of a config.
func recoverBundle(r request, a *answer) error {
	provider, err := configloader.NewFromBytes([]byte(r.Config))
	if err != nil {
		return err
	}

	bundle, err := bundleFromConfig(provider)
	if err != nil {
		return err
	}

	if bundle == nil {
		return errors.New("the config has no secrets")
	}

	return a.bundle(bundle)
}

func (a *answer) bundle(bundle *secrets.Bundle) error {
	text, err := yaml.Marshal(bundle)
	a.Text = string(text)

	return err
}
