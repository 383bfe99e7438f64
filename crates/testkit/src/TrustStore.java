import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;

/** Writes a trust store (first argument) of all certificates in PEM files (the others). */
public class TrustStore {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance("JKS");
        store.load(null, null);
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        for (int index = 1; index < arguments.length; index++) {
            try (FileInputStream file = new FileInputStream(arguments[index])) {
                for (java.security.cert.Certificate certificate : factory.generateCertificates(file)) {
                    store.setCertificateEntry("authority" + store.size(), certificate);
                }
            }
        }
        // Java's own password for this file, which holds no secret.
        try (FileOutputStream file = new FileOutputStream(arguments[0])) {
            store.store(file, "changeit".toCharArray());
        }
    }
}
