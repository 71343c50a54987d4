package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultMaxBody holds an event of 256 KiB in its envelope.
	DefaultMaxBody = 320 << 10
	// DefaultBodyTimeout is how long a body may take to arrive.
	DefaultBodyTimeout = 10 * time.Second
	// DefaultStoreTimeout leaves a sender that gives up after 15 seconds with
	// an answer.
	DefaultStoreTimeout = 5 * time.Second
	// DefaultRetryAfter is what a sender is asked to wait when the store fails.
	DefaultRetryAfter = 5 * time.Second
)

// ReceiverConfig configures a [Receiver]. Store and at least one secret or
// public key are needed; every other zero value is a good default.
type ReceiverConfig struct {
	// Secrets and PublicKeys are whom to trust. Both can change later, by
	// [Receiver.SetSecrets] and [Receiver.SetPublicKeys].
	Secrets    []Secret
	PublicKeys []PublicKey
	// Store takes in what was verified.
	Store Store
	// Tolerance is the greatest age and lead of a message. Default
	// [DefaultTolerance].
	Tolerance time.Duration
	// MaxBody is the longest body in bytes. Default [DefaultMaxBody].
	MaxBody int64
	// BodyTimeout bounds the reading of the body, StoreTimeout the storing.
	// Defaults [DefaultBodyTimeout], [DefaultStoreTimeout].
	BodyTimeout  time.Duration
	StoreTimeout time.Duration
	// RetryAfter goes with each 503, in whole seconds. Default
	// [DefaultRetryAfter].
	RetryAfter time.Duration
	// Observe, if set, is called once for each request, before the answer is
	// complete, and concurrently: count and log there.
	Observe func(context.Context, Observation)
}

// Receiver is the http.Handler for a webhook's URL. In this order it checks the
// method (405), the content type (415), the declared length (413), the headers
// (401), reads a bounded body (413, 408), verifies it (401), answers an
// ownership challenge (200), refuses an empty body (400), and hands the rest to
// the Store: 200 when it is durable, 202 when it is but was not understood, 503
// with Retry-After when it is not. The bodies of the answers are constant: a
// stranger learns nothing from them.
type Receiver struct {
	config     ReceiverConfig
	retryAfter string

	mu       sync.Mutex // serializes writers of verifier
	verifier atomic.Pointer[Verifier]
}

var _ http.Handler = (*Receiver)(nil)

// NewReceiver checks the configuration.
func NewReceiver(config ReceiverConfig) (*Receiver, error) {
	if config.Store == nil {
		return nil, errors.New("a receiver needs a store")
	}
	if len(config.Secrets)+len(config.PublicKeys) == 0 {
		return nil, errors.New("a receiver needs a secret or a public key")
	}
	if config.Tolerance < 0 || config.MaxBody < 0 || config.BodyTimeout < 0 || config.StoreTimeout < 0 || config.RetryAfter < 0 {
		return nil, errors.New("a limit of the receiver is negative")
	}
	setDefault(&config.MaxBody, DefaultMaxBody)
	setDefault(&config.BodyTimeout, DefaultBodyTimeout)
	setDefault(&config.StoreTimeout, DefaultStoreTimeout)
	setDefault(&config.RetryAfter, DefaultRetryAfter)
	if config.Observe == nil {
		config.Observe = func(context.Context, Observation) {}
	}
	seconds := (config.RetryAfter + time.Second - 1) / time.Second
	r := &Receiver{config: config, retryAfter: strconv.FormatInt(int64(seconds), 10)}
	r.verifier.Store(&Verifier{Tolerance: config.Tolerance})
	if err := r.SetSecrets(config.Secrets...); err != nil {
		return nil, err
	}
	if err := r.SetPublicKeys(config.PublicKeys...); err != nil {
		return nil, err
	}
	return r, nil
}

func setDefault[T int64 | time.Duration](value *T, fallback T) {
	if *value == 0 {
		*value = fallback
	}
}

// SetSecrets replaces the trusted secrets, from the next request on. In a
// rotation: first the new and the old one, and when the overlap is over the new
// one alone.
func (r *Receiver) SetSecrets(secrets ...Secret) error {
	for _, s := range secrets {
		if s.IsZero() {
			return fmt.Errorf("%w: a secret is empty", ErrInvalidKey)
		}
	}
	r.change(func(v *Verifier) { v.Secrets = append([]Secret(nil), secrets...) })
	return nil
}

// SetPublicKeys replaces the trusted public keys, from the next request on.
func (r *Receiver) SetPublicKeys(keys ...PublicKey) error {
	for _, k := range keys {
		if k.IsZero() {
			return fmt.Errorf("%w: a public key is empty", ErrInvalidKey)
		}
	}
	r.change(func(v *Verifier) { v.PublicKeys = append([]PublicKey(nil), keys...) })
	return nil
}

func (r *Receiver) change(apply func(*Verifier)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.verifier.Load()
	apply(&next)
	r.verifier.Store(&next)
}

// ServeHTTP answers one request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	// First of all, since net/http itself reads what a refusal leaves unread.
	// Not every ResponseWriter has a deadline; those of net/http's server do.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(start.Add(r.config.BodyTimeout))
	o := r.serve(w, req)
	o.Duration = time.Since(start)
	r.config.Observe(req.Context(), o)
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) Observation {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(w, http.StatusMethodNotAllowed, &Error{Reason: ReasonMethod})
	}
	if !isPlainJSON(req.Header) {
		return refuse(w, http.StatusUnsupportedMediaType, &Error{Reason: ReasonContentType})
	}
	if req.ContentLength > r.config.MaxBody {
		return refuse(w, http.StatusRequestEntityTooLarge, &Error{Reason: ReasonTooLarge})
	}
	verifier := r.verifier.Load()
	env, err := verifier.open(req.Header)
	if err != nil {
		return refuse(w, http.StatusUnauthorized, err)
	}
	body, status, err := r.readBody(w, req)
	if err != nil {
		o := refuse(w, status, err)
		o.Bytes = len(body)
		return o
	}
	ver, err := verifier.match(env, body)
	if err != nil {
		o := refuse(w, http.StatusUnauthorized, err)
		o.Bytes = len(body)
		return o
	}
	o := r.take(w, req, verifier, Delivery{Verification: ver, Body: body, ReceivedAt: time.Now().UTC()})
	o.ID, o.Kind, o.Bytes = ver.ID, ver.Kind, len(body)
	return o
}

// take deals with a request that is verified.
func (r *Receiver) take(w http.ResponseWriter, req *http.Request, verifier *Verifier, d Delivery) Observation {
	if len(d.Body) == 0 {
		return refuse(w, http.StatusBadRequest, &Error{Reason: ReasonEmptyBody})
	}
	d.Event, d.Problem = parseSigned(d.ID, d.Body)
	if d.Problem == nil && d.Event.Type == TypeVerification {
		var challenge string
		if challenge, d.Problem = parseChallenge(d.Event.Data); d.Problem == nil {
			reply(w, http.StatusOK, appendChallengeResponse(nil, answerSecret(d.secret, verifier), challenge))
			return Observation{Outcome: Challenged, Status: http.StatusOK, Type: d.Event.Type}
		}
		d.Event = Event{}
	}
	d.Attempt = parseAttempt(req.Header.Get(HeaderAttempt))
	if trace := req.Header.Get(HeaderTraceparent); validTraceparent(trace) {
		d.Traceparent = trace
	}
	return r.store(w, req, d)
}

// answerSecret is the secret that the challenge came under, so that the answer
// proves exactly that one; for Ed25519, the newest.
func answerSecret(matched Secret, verifier *Verifier) Secret {
	if matched.IsZero() && len(verifier.Secrets) > 0 {
		return verifier.Secrets[0]
	}
	return matched
}

func (r *Receiver) store(w http.ResponseWriter, req *http.Request, d Delivery) Observation {
	ctx, cancel := context.WithTimeout(req.Context(), r.config.StoreTimeout)
	defer cancel()
	o := Observation{Type: d.Event.Type}
	err := r.config.Store.Accept(ctx, d)
	if errors.Is(err, ErrQuarantined) && d.Problem == nil {
		d.Problem, err = err, nil
	}
	switch {
	case err != nil:
		w.Header().Set("Retry-After", r.retryAfter)
		o.Outcome, o.Status, o.Reason, o.Err = Unavailable, http.StatusServiceUnavailable, ReasonStore, err
		reply(w, o.Status, replyUnavailable)
	case d.Problem != nil:
		o.Outcome, o.Status, o.Reason, o.Err = Quarantined, http.StatusAccepted, ReasonOf(d.Problem), d.Problem
		if o.Reason == "" {
			o.Reason = ReasonNotUnderstood
		}
		reply(w, o.Status, replyAccepted)
	default:
		o.Outcome, o.Status = Accepted, http.StatusOK
		reply(w, o.Status, replyAccepted)
	}
	return o
}
