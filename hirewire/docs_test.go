package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// pages are what readers copy from, by path below the root of the project.
func pages(t *testing.T) map[string]string {
	t.Helper()
	paths := []string{"../README.md", "../docker-compose.yml"}
	for _, pattern := range []string{"../docs/*.md", "../docs/adr/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages in %s: %v", pattern, err)
		}
		paths = append(paths, found...)
	}
	texts := map[string]string{}
	for _, path := range paths {
		texts[path] = read(t, path)
	}
	return texts
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSettingsOfTheDocumentationExist(t *testing.T) {
	known := map[string]bool{}
	tag := regexp.MustCompile(`env:"([A-Z_]+)"`)
	for _, service := range []string{"../employee-svc", "../notifier", "../bank-svc"} {
		err := filepath.WalkDir(service, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				for _, found := range tag.FindAllStringSubmatch(read(t, path), -1) {
					known[found[1]] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	name := regexp.MustCompile(`\b(EMPLOYEE|NOTIFIER|BANK)_[A-Z_]+[A-Z]\b`)
	for path, text := range pages(t) {
		for _, setting := range name.FindAllString(text, -1) {
			if !known[strings.TrimSuffix(setting, "_FILE")] && !known[setting] {
				t.Errorf("%s: there is no setting %s", path, setting)
			}
		}
	}
}

func TestCommandsOfTheDocumentationExist(t *testing.T) {
	flags := map[string]map[string]bool{}
	for _, command := range kong.Must(&commands{}).Model.Children {
		flags[command.Name] = map[string]bool{"help": true}
		for _, flag := range command.Flags {
			flags[command.Name][flag.Name] = true
		}
	}
	call := regexp.MustCompile("(?:bin/|\\./|`|^)hirewire ([a-z]+)([^`\n#]*)")
	flag := regexp.MustCompile(`--([a-z][a-z-]*)`)
	target := regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	makefile := "\n" + read(t, "../Makefile")
	for path, text := range pages(t) {
		for _, found := range call.FindAllStringSubmatch(text, -1) {
			if flags[found[1]] == nil {
				t.Errorf("%s: there is no hirewire %s", path, found[1])
				continue
			}
			for _, f := range flag.FindAllStringSubmatch(found[2], -1) {
				if !flags[found[1]][f[1]] {
					t.Errorf("%s: hirewire %s has no --%s", path, found[1], f[1])
				}
			}
		}
		for _, found := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+found[1]+":") {
				t.Errorf("%s: there is no make %s", path, found[1])
			}
		}
	}
}

func TestLinksOfTheDocumentationLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	program := regexp.MustCompile(`go run (\./[a-z0-9/-]+)`)
	for path, text := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(found[1], "https://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), found[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		for _, found := range program.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", found[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
